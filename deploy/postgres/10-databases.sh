#!/bin/sh
# One database and one role per service, none readable by another. Runs once, when the data
# directory of the PostgreSQL container is new; repeating it by hand changes passwords only.
set -eu

for name in orders claims returns inventory gateway; do
    variable=RECLAMO_$(echo "$name" | tr '[:lower:]' '[:upper:]')_PASSWORD
    eval "password=\${$variable:?$variable is not set}"
    # psql quotes what it fills in (:"name" an identifier, :'password' a text).
    psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username "${POSTGRES_USER:-postgres}" \
        --dbname postgres -v name="$name" -v password="$password" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'name')
 WHERE NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = :'name')\gexec
ALTER ROLE :"name" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
 WHERE NOT EXISTS (SELECT 1 FROM pg_database WHERE datname = :'name')\gexec
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done

# The maintenance databases are nobody's business either.
psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username "${POSTGRES_USER:-postgres}" \
    --dbname postgres -c 'REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC'
