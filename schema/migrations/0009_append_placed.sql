-- 0009_append_placed: functions/append_placed.sql does what append_events did, with another result.
DROP FUNCTION IF EXISTS append_events(
  bigint[], bigint[], uuid[], text[], integer[], timestamptz[], bytea[], bytea[]);
