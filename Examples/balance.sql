-- The balance of every account, from a bank's transactions as they were imported:
--
--   esctl import transactions.csv --format csv --delimiter ';' --stream 'account-{account_id}' --type '{type}' \
--     --time '{date}' --time-format yyMMdd
--   esctl replay account-1 --into balance.sql --at-version 17
--   esctl replay --all --into balance.sql
--
-- read model: balance
-- version: 1
-- categories: account
-- streams: independent

CREATE TABLE balance (
  account      text          PRIMARY KEY,
  balance      numeric(14,2) NOT NULL,  -- amounts are decimals, never binary floating point
  transactions bigint        NOT NULL,
  latest       date          NOT NULL
);

-- PRIJEM is a credit; VYDAJ and VYBER are debits.
-- on: PRIJEM, VYDAJ, VYBER
INSERT INTO balance AS b (account, balance, transactions, latest)
SELECT stream,
       sum(CASE type WHEN 'PRIJEM' THEN 1 ELSE -1 END * (data->>'amount')::numeric),
       count(*),
       max(time AT TIME ZONE 'UTC')::date
  FROM events
 GROUP BY stream
    ON CONFLICT (account) DO UPDATE
   SET balance      = b.balance + excluded.balance,
       transactions = b.transactions + excluded.transactions,
       latest       = greatest(b.latest, excluded.latest);
