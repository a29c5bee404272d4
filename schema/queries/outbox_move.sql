-- outbox_move: moves cursor $2, of epoch $3, whose row is at $1, to position $4 with $5 open and $6 floors, after $7 more
-- events. By its ctid: see 0007_outbox. No row: it is elsewhere, or another member's.
UPDATE :"schema".outbox_positions
   SET position = $4,
       open     = $5,
       floors   = $6,
       handled  = handled + $7
 WHERE ctid = $1::text::tid
   AND cursor_id = $2
   AND epoch = $3
RETURNING ctid::text;
