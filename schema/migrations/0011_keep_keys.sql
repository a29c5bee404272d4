-- 0011_keep_keys: a data key that is gone takes its subject's payloads with it, and a master key's proof lets a wrong key in.
-- No role of ours loses them, the owner by mistake included. (Rows may be updated: that is how a subject is shredded.)

CREATE FUNCTION refuse_loss_of_keys() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  RAISE EXCEPTION '% on %.% is forbidden: events could not be opened any more', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER data_keys_kept
  BEFORE DELETE OR TRUNCATE ON data_keys
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_loss_of_keys();

CREATE TRIGGER master_keys_kept
  BEFORE DELETE OR TRUNCATE ON master_keys
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_loss_of_keys();
