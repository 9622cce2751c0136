-- STAGE: staging
-- The rides, with amounts in euros.

CREATE OR REPLACE TABLE stg_rides AS
WITH source AS (
    SELECT * FROM raw_rides
),
renamed AS (
    SELECT
        id AS ride_id,
        bike AS bike_id,
        from_dock AS from_dock_id,
        to_dock AS to_dock_id,
        started AS started_at,
        minutes,
        CAST(cents / 100 AS DECIMAL(10, 2)) AS price
    FROM source
)
SELECT * FROM renamed;

-- CHECK: ride_id is unique
SELECT ride_id, count(*) AS times FROM stg_rides GROUP BY ride_id HAVING count(*) > 1;

-- CHECK: ride_id and bike_id are not null
SELECT * FROM stg_rides WHERE ride_id IS NULL OR bike_id IS NULL;

-- CHECK: each bike exists
SELECT * FROM stg_rides WHERE bike_id NOT IN (SELECT bike_id FROM stg_bikes);

-- CHECK: each ride begins at a dock
SELECT * FROM stg_rides WHERE from_dock_id NOT IN (SELECT dock_id FROM stg_docks);
