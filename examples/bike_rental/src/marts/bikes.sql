-- STAGE: marts
-- One row for each bike: its rides, its income, and where it was seen last.

CREATE OR REPLACE TABLE bikes AS
WITH bikes AS (
    SELECT * FROM stg_bikes
),
docks AS (
    SELECT * FROM stg_docks
),
rides AS (
    SELECT * FROM stg_rides
),
bike_rides AS (
    SELECT
        bike_id,
        count(*) AS rides,
        sum(minutes) AS minutes,
        sum(price) AS income,
        max_by(to_dock_id, started_at) AS last_dock_id
    FROM rides
    GROUP BY bike_id
)
SELECT
    bikes.bike_id,
    bikes.frame_number,
    bikes.kind,
    coalesce(bike_rides.rides, 0) AS rides,
    coalesce(bike_rides.minutes, 0) AS minutes,
    coalesce(bike_rides.income, 0) AS income,
    docks.dock_name AS last_dock
FROM bikes
LEFT JOIN bike_rides ON bikes.bike_id = bike_rides.bike_id
LEFT JOIN docks ON bike_rides.last_dock_id = docks.dock_id
ORDER BY bikes.bike_id;

-- CHECK: bike_id is unique
SELECT bike_id, count(*) AS times FROM bikes GROUP BY bike_id HAVING count(*) > 1;

SELECT * FROM bikes ORDER BY bike_id;
