-- STAGE: staging
-- The docks where bikes are taken and left.

CREATE OR REPLACE TABLE stg_docks AS
WITH source AS (
    SELECT * FROM raw_docks
),
renamed AS (
    SELECT id AS dock_id, trim(title) AS dock_name, places FROM source
)
SELECT * FROM renamed;

-- CHECK: dock_id is unique
SELECT dock_id, count(*) AS times FROM stg_docks GROUP BY dock_id HAVING count(*) > 1;

-- CHECK: dock_id is not null
SELECT * FROM stg_docks WHERE dock_id IS NULL;
