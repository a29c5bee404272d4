-- 0010_append_new_streams: functions/append_placed.sql makes streams and keys, too.
DROP FUNCTION IF EXISTS append_placed(
  bigint[], bigint[], boolean[], uuid[], text[], integer[], timestamptz[], bytea[], bytea[]);
