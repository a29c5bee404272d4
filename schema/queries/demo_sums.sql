-- demo_sums: of the read model of `esctl demo`: how many accounts its writers know, what they hold, and what was added
-- beside them.
SELECT count(*) FILTER (WHERE account NOT IN ('account-beside', 'account-lag')),
       coalesce(sum(cents) FILTER (WHERE account NOT IN ('account-beside', 'account-lag')), 0)::bigint,
       coalesce(sum(cents) FILTER (WHERE account = 'account-beside'), 0)::bigint
  FROM :"views".balance;
