-- lock_builds: holds the builds of a projection, whatever their roles, and gives them with those.
SELECT build, role
  FROM :"schema".projection_builds
 WHERE name = $1
 ORDER BY build
   FOR UPDATE;
