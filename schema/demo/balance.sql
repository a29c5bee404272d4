-- What `esctl demo` folds its whole log into.
--
-- read model: balance
-- version: 1
-- categories: account
-- streams: independent

CREATE TABLE balance (
  account text   PRIMARY KEY,
  cents   bigint NOT NULL,
  version bigint NOT NULL
);

-- on: account.deposited, account.withdrawn
INSERT INTO balance AS b (account, cents, version)
SELECT stream, sum((data->>'cents')::bigint), max(version)
  FROM events
 GROUP BY stream
    ON CONFLICT (account) DO UPDATE
   SET cents   = b.cents + excluded.cents,
       version = excluded.version;
