-- STAGE: marts
-- One row for each dock: what was taken and left there.

CREATE OR REPLACE TABLE docks AS
WITH docks AS (
    SELECT * FROM stg_docks
),
rides AS (
    SELECT * FROM stg_rides
),
bikes AS (
    SELECT * FROM stg_bikes
),
taken AS (
    SELECT
        rides.from_dock_id AS dock_id,
        count(*) AS taken,
        count(*) FILTER (WHERE bikes.kind = 'electric') AS taken_electric
    FROM rides
    JOIN bikes ON rides.bike_id = bikes.bike_id
    GROUP BY rides.from_dock_id
),
brought AS (
    SELECT to_dock_id AS dock_id, count(*) AS brought FROM rides GROUP BY to_dock_id
)
SELECT
    docks.dock_id,
    docks.dock_name,
    docks.places,
    coalesce(taken.taken, 0) AS taken,
    coalesce(taken.taken_electric, 0) AS taken_electric,
    coalesce(brought.brought, 0) AS brought
FROM docks
LEFT JOIN taken ON docks.dock_id = taken.dock_id
LEFT JOIN brought ON docks.dock_id = brought.dock_id
ORDER BY docks.dock_id;

-- CHECK: dock_id is unique
SELECT dock_id, count(*) AS times FROM docks GROUP BY dock_id HAVING count(*) > 1;

-- CHECK: each ride was taken somewhere
SELECT * FROM (SELECT sum(taken) AS taken FROM docks), (SELECT count(*) AS rides FROM stg_rides)
WHERE taken <> rides;

SELECT * FROM docks ORDER BY dock_id;
