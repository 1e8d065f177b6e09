-- The three roles of the offline database: tfs_owner makes the tables, tfs_writer appends to them, tfs_reader reads them.
--
-- For a superuser's psql (15 or later), in the database of the features, before the first `feast apply`. Run again, it
-- changes nothing but the passwords that are given:
--
--   TFS_OWNER_PASSWORD=... TFS_WRITER_PASSWORD=... TFS_READER_PASSWORD=... psql -f deploy/sql/roles.sql "$ADMIN_URL"
--
-- Passwords come from the environment only: not from this file, and not from the arguments of a process. A role without
-- one keeps the password it has. Another schema than public: -v schema=desk, and db_schema: desk in feature_store.yaml.
-- Who uses which role: tfs_owner for `feast apply`, the backfill and the role `lake`; tfs_writer for the offline writer, the scorer;
-- tfs_reader for training, `ingest status` and `feast materialize`.
-- Tables that another role made earlier stay its own until `ALTER TABLE ... OWNER TO tfs_owner`; then run this again.

\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
\if :{?schema}
\else
  \set schema public
\endif

-- A statement with a password in it is kept out of the server's log, also where it fails.
SELECT set_config(name, value, false) AS quiet
FROM (VALUES ('log_statement', 'none'), ('log_min_duration_statement', '-1'), ('log_min_error_statement', 'panic'),
             ('pg_stat_statements.track_utility', 'off')) AS hidden(name, value) \g /dev/null

SELECT format('CREATE ROLE %I', wanted)
FROM unnest(ARRAY['tfs_owner', 'tfs_writer', 'tfs_reader']) AS wanted
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) \gexec
ALTER ROLE tfs_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE tfs_writer LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE tfs_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

\getenv owner_password TFS_OWNER_PASSWORD
\getenv writer_password TFS_WRITER_PASSWORD
\getenv reader_password TFS_READER_PASSWORD
\if :{?owner_password}
  ALTER ROLE tfs_owner PASSWORD :'owner_password';
\endif
\if :{?writer_password}
  ALTER ROLE tfs_writer PASSWORD :'writer_password';
\endif
\if :{?reader_password}
  ALTER ROLE tfs_reader PASSWORD :'reader_password';
\endif

-- Only a superuser may install the extension, so that the owner need not be one.
SELECT 'CREATE EXTENSION IF NOT EXISTS timescaledb'
WHERE current_setting('shared_preload_libraries') LIKE '%timescaledb%' \gexec

-- Entity rows are uploaded to temporary tables, and new rows are staged in one. Only the owner makes anything that stays.
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE :"DBNAME" TO tfs_owner, tfs_writer, tfs_reader;
GRANT CREATE ON DATABASE :"DBNAME" TO tfs_owner;
SELECT format('CREATE SCHEMA %I', :'schema')
WHERE NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = :'schema') \gexec
REVOKE ALL ON SCHEMA :"schema" FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA :"schema" TO tfs_owner;
GRANT USAGE ON SCHEMA :"schema" TO tfs_writer, tfs_reader;

ALTER DEFAULT PRIVILEGES FOR ROLE tfs_owner IN SCHEMA :"schema" GRANT SELECT, INSERT ON TABLES TO tfs_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE tfs_owner IN SCHEMA :"schema" GRANT SELECT ON TABLES TO tfs_reader;

-- The scorer's table and the deployment's id: the writer may not make them, so they are made here as the parts would make them.
SET ROLE tfs_owner;
CREATE TABLE IF NOT EXISTS :"schema".social_scores (
    id text NOT NULL,
    text_hash bytea NOT NULL,
    model text NOT NULL,
    revision text NOT NULL,
    positive double precision,
    negative double precision,
    neutral double precision,
    posted_at timestamptz NOT NULL,
    scored_at timestamptz NOT NULL,
    source text NOT NULL DEFAULT '',
    PRIMARY KEY (text_hash, model, revision, source, id)
);
-- A table of an earlier version has no source yet.
SELECT format('ALTER TABLE %I.social_scores ADD COLUMN source text NOT NULL DEFAULT %L, DROP CONSTRAINT social_scores_pkey, '
              'ADD CONSTRAINT social_scores_pkey PRIMARY KEY (text_hash, model, revision, source, id)', :'schema', '')
WHERE NOT EXISTS (SELECT FROM information_schema.columns
                  WHERE table_schema = :'schema' AND table_name = 'social_scores' AND column_name = 'source') \gexec
CREATE TABLE IF NOT EXISTS :"schema".tfs_deployment (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id text NOT NULL
);
RESET ROLE;

-- What was the owner's before the line on default privileges was there.
SELECT format('GRANT SELECT, INSERT ON %I.%I TO tfs_writer; GRANT SELECT ON %I.%I TO tfs_reader',
              nspname, relname, nspname, relname)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = :'schema' AND relkind IN ('r', 'p') AND relowner = 'tfs_owner'::regrole \gexec
