-- STAGE: load
-- Make the table of orders. Another project would load a file.

DROP TABLE IF EXISTS orders;

CREATE TABLE orders (day DATE, shop VARCHAR(20), amount INTEGER);

INSERT INTO orders VALUES
  ('2023-12-30', 'north', 7),
  ('2024-01-05', 'north', 20),
  ('2024-01-09', 'south', 35),
  ('2024-02-01', 'south', 5),
  ('2024-02-20', 'north', 10),
  ('2024-02-21', 'south', 40);
