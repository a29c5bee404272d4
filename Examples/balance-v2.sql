-- The second version of balance.sql: each account's monthly totals stand beside its balance.
--
--   esctl projections run balance.sql
--   esctl projections rebuild balance --file balance-v2.sql
--   esctl projections compare balance
--   esctl projections switch balance
--
-- read model: balance
-- version: 2
-- categories: account
-- streams: independent

CREATE TABLE balance (
  account      text          PRIMARY KEY,
  balance      numeric(14,2) NOT NULL,
  transactions bigint        NOT NULL,
  latest       date          NOT NULL,
  months       jsonb         NOT NULL    -- {"1993-01": 700.00, …}: what came in less what went out
);

CREATE INDEX balance_latest ON balance (latest);

-- on: PRIJEM, VYDAJ, VYBER
WITH amounts AS (
  SELECT stream, time AT TIME ZONE 'UTC' AS day,
         CASE type WHEN 'PRIJEM' THEN 1 ELSE -1 END * (data->>'amount')::numeric AS amount
    FROM events
),
months AS (
  SELECT m.stream, jsonb_object_agg(m.month, m.amount) AS totals
    FROM (SELECT stream, to_char(day, 'YYYY-MM') AS month, sum(amount) AS amount
            FROM amounts
           GROUP BY 1, 2) m
   GROUP BY m.stream
),
sums AS (
  SELECT stream, sum(amount) AS amount, count(*) AS count, max(day)::date AS latest
    FROM amounts
   GROUP BY stream
)
INSERT INTO balance AS b (account, balance, transactions, latest, months)
SELECT s.stream, s.amount, s.count, s.latest, m.totals
  FROM sums s
  JOIN months m ON m.stream = s.stream
    ON CONFLICT (account) DO UPDATE
   SET balance      = b.balance + excluded.balance,
       transactions = b.transactions + excluded.transactions,
       latest       = greatest(b.latest, excluded.latest),
       months       = (SELECT jsonb_object_agg(t.month, t.total)
                         FROM (SELECT e.key AS month, sum(e.value::numeric) AS total
                                 FROM (SELECT * FROM jsonb_each_text(b.months)
                                       UNION ALL
                                       SELECT * FROM jsonb_each_text(excluded.months)) e
                                GROUP BY e.key) t);
