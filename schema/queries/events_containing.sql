-- events_containing: $1 bytes. How many stored payloads hold them: a check that payloads are sealed.
SELECT count(*)
  FROM :"schema".events
 WHERE position($1 IN data) > 0;
