-- What the pipeline's own role needs beyond privileges on tables. Roles are of the server, not of
-- this database, and not every owner may create them: `wrdata roles create` does, and every
-- `wrdata migrate` gives those that exist what they need (queries/roles.sql).

-- Nobody else makes tables among ours. Before PostgreSQL 15 everybody might.
revoke create on schema public from public;

-- Only the owner of a hypertable may drop its chunks. The role that loads drops what is archived,
-- and owns nothing: this lets it, and gives it no more than its right to delete row by row.
create function drop_chunk(chunk regclass) returns void
language plpgsql
security definer
set search_path = pg_catalog, public, pg_temp
set timezone = 'UTC'
as $$
declare
    target regclass;
    bound_type regtype;
    starts timestamptz;
    ends timestamptz;
    dropped bigint;
begin
    select
        format('%I.%I', piece.hypertable_schema, piece.hypertable_name)::regclass,
        piece.primary_dimension_type,
        piece.range_start,
        piece.range_end
    into target, bound_type, starts, ends
    from timescaledb_information.chunks as piece
    where
        format('%I.%I', piece.chunk_schema, piece.chunk_name)::regclass = chunk
        and piece.hypertable_schema = 'public';
    if target is null then
        raise exception '% is no chunk of a table of this project', chunk
        using errcode = 'invalid_parameter_value';
    end if;
    -- The one who asks, not the owner as whom this function runs.
    if not has_table_privilege(session_user, target, 'delete') then
        raise exception 'permission denied to drop chunks of %', target
        using errcode = 'insufficient_privilege';
    end if;
    execute format(
        'select count(*) from drop_chunks(%L::regclass, older_than => %L::%s, newer_than => %L::%s)',
        target, ends, bound_type, starts, bound_type
    ) into dropped;
    if dropped <> 1 then
        raise exception '% chunks of % would be dropped, not one', dropped, target
        using errcode = 'invalid_parameter_value';
    end if;
end
$$;
comment on function drop_chunk is
'Drop one chunk for a role that may delete its rows, though it does not own the table.';
revoke execute on function drop_chunk from public;
