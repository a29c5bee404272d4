-- 0009_append_placed: functions/append_placed.sql does what append_events did, with another result; it and append_event say
-- of each event whether its append expected an exact version.
DROP FUNCTION IF EXISTS append_events(
  bigint[], bigint[], uuid[], text[], integer[], timestamptz[], bytea[], bytea[]);
DROP FUNCTION IF EXISTS append_event(bigint, bigint, uuid, text, integer, timestamptz, bytea, bytea);
