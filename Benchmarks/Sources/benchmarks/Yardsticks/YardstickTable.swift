/// The yardsticks' tables: `events` is that of the store (schema/migrations/0001_log.sql) without its guards and its
/// partial index, which no append with a known version pays for.
enum YardstickTable {
  static let schema = "benchmarks_yardstick"

  static let events = """
    CREATE TABLE \(schema).events (
      position       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      stream_id      bigint      NOT NULL,
      version        bigint      NOT NULL,
      recorded_at    timestamptz NOT NULL DEFAULT statement_timestamp(),
      occurred_at    timestamptz,
      event_id       uuid        NOT NULL,
      schema_version integer     NOT NULL,
      shard          smallint    NOT NULL,
      unplaced       boolean     NOT NULL,
      type           text        COLLATE "C" NOT NULL,
      metadata       bytea,
      data           bytea       NOT NULL,
      UNIQUE (stream_id, version)
    );
    ALTER TABLE \(schema).events ALTER COLUMN data SET STORAGE EXTERNAL;
    ALTER TABLE \(schema).events
      SET (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
    """

  /// The usual design: a row a stream that carries its version, and one function call a transaction.
  static let appendFunction = """
    CREATE TABLE \(schema).streams (stream_id bigint PRIMARY KEY, version bigint NOT NULL);
    INSERT INTO \(schema).streams SELECT number, 0 FROM generate_series(1, 1000) AS number;
    CREATE FUNCTION \(schema).append(stream bigint, expected bigint, id uuid, type text, data bytea) RETURNS bigint
    LANGUAGE plpgsql AS $$
    DECLARE
      result bigint;
    BEGIN
      UPDATE \(schema).streams SET version = version + 1 WHERE stream_id = stream AND version = expected;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'stream % is not at version %', stream, expected;
      END IF;
      INSERT INTO \(schema).events (stream_id, version, event_id, schema_version, shard, unplaced, type, data)
      VALUES (stream, expected + 1, id, 1, (stream & 255)::smallint, false, type, data)
      RETURNING position INTO result;
      RETURN result;
    END
    $$;
    """
}
