-- The second version of the demo's read model: what came in and what went out stand apart.
--
-- read model: balance
-- version: 2
-- categories: account
-- streams: independent

CREATE TABLE balance (
  account   text   PRIMARY KEY,
  cents     bigint NOT NULL,
  version   bigint NOT NULL,
  deposited bigint NOT NULL,
  withdrawn bigint NOT NULL
);

CREATE INDEX balance_cents ON balance (cents);

-- on: account.deposited, account.withdrawn
INSERT INTO balance AS b (account, cents, version, deposited, withdrawn)
SELECT stream, sum((data->>'cents')::bigint), max(version),
       coalesce(sum((data->>'cents')::bigint) FILTER (WHERE type = 'account.deposited'), 0),
       coalesce(-sum((data->>'cents')::bigint) FILTER (WHERE type = 'account.withdrawn'), 0)
  FROM events
 GROUP BY stream
    ON CONFLICT (account) DO UPDATE
   SET cents     = b.cents + excluded.cents,
       version   = excluded.version,
       deposited = b.deposited + excluded.deposited,
       withdrawn = b.withdrawn + excluded.withdrawn;
