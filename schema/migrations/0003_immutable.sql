-- 0003_immutable: no role of ours may change the past, the owner by mistake included.

CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  RAISE EXCEPTION '% on %.% is forbidden: the log is append-only', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege',
          HINT = 'Append a new event that corrects the old one; to erase a payload, shred its subject''s data key.';
END
$$;

CREATE TRIGGER events_append_only
  BEFORE UPDATE OR DELETE OR TRUNCATE ON events
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER streams_append_only
  BEFORE UPDATE OR DELETE OR TRUNCATE ON streams
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER categories_append_only
  BEFORE UPDATE OR DELETE OR TRUNCATE ON categories
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
