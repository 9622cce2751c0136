-- STAGE: staging
-- AFTER: stg_docks
-- The bikes, with the words of the company.

CREATE OR REPLACE TABLE stg_bikes AS
WITH source AS (
    SELECT * FROM raw_bikes
),
renamed AS (
    SELECT id AS bike_id, frame AS frame_number, kind, home AS home_dock_id FROM source
)
SELECT * FROM renamed;

-- CHECK: bike_id is unique
SELECT bike_id, count(*) AS times FROM stg_bikes GROUP BY bike_id HAVING count(*) > 1;

-- CHECK: bike_id is not null
SELECT * FROM stg_bikes WHERE bike_id IS NULL;

-- CHECK: kind is an accepted value
SELECT * FROM stg_bikes WHERE kind IS NULL OR kind NOT IN ('city', 'cargo', 'electric');

-- CHECK: each home is a dock
SELECT * FROM stg_bikes WHERE home_dock_id NOT IN (SELECT dock_id FROM stg_docks);
