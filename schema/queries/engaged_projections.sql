-- engaged_projections: see the function.
SELECT build, name, version, kind, file, source FROM :"schema".engaged_projections();
