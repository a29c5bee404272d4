-- keep_data_key: $1 id, $2 subject, $3 master key's id, $4 wrapped key.
SELECT :"schema".keep_data_key($1, $2, $3, $4);
