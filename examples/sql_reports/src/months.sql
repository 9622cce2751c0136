-- STAGE: summarize
-- Sum up the orders of each month and shop.
-- since: date = 2024-01-01  the first day that counts
-- least: int = 0  leave out smaller sums

DROP TABLE IF EXISTS months;

CREATE TABLE months AS
SELECT substr(CAST(day AS VARCHAR(10)), 1, 7) AS month, shop, sum(amount) AS amount
FROM orders
WHERE day >= :since
GROUP BY 1, 2
HAVING sum(amount) >= :least;

-- CHECK: no empty months
SELECT * FROM months WHERE amount <= 0;

-- These rows are shown and counted.
SELECT month, shop, amount FROM months ORDER BY month, shop;
