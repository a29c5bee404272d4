-- end_of_log: the last event of which it is sure that no event before it is still to be committed; 0: there is none.
WITH horizon AS MATERIALIZED (SELECT :"schema".horizon() AS bound)
SELECT coalesce((SELECT e.position
                   FROM :"schema".events e, horizon h
                  WHERE e.position <= h.bound
                  ORDER BY e.position DESC
                  LIMIT 1), 0);
