-- horizon: the position up to which everything is decided.
SELECT :"schema".horizon();
