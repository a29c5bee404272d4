-- register_master_key: $1 id, $2 proof. Returns false when the store has another master key already.
SELECT :"schema".register_master_key($1, $2);
