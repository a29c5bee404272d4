-- categories_by_name: $1 names. The numbers of those that exist.
SELECT category_id::bigint FROM :"schema".categories WHERE name = ANY ($1);
