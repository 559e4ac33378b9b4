-- The convention of the datasets' tables, and what loads them.
--
-- A table has a primary key that begins with instrument_id, then values, then provider, ingest_id
-- and known_from. A twin <table>_version has the values that were replaced, with known_to and
-- replaced_by_ingest_id. The functions here rely on that and on nothing else.
--
-- instrument_id and ingest_id have no foreign keys: checking them row by row makes a fresh load
-- 60 % slower (bench/loader.py), and the loader checks a batch's few instruments once.

create function create_version_table(target regclass) returns void
language plpgsql as $$
declare
    key_columns text;
begin
    select string_agg(
        quote_ident(attribute.attname),
        ', ' order by array_position(key.indkey::smallint[], attribute.attnum)
    )
    into key_columns
    from pg_index as key
    inner join pg_attribute as attribute
        on attribute.attrelid = key.indrelid and attribute.attnum = any(key.indkey)
    where key.indrelid = target and key.indisprimary;

    -- Versions of a key never overlap, since each one's known_to is the known_from of the next.
    execute format(
        $create$
        create table %1$I (
            like %2$s,
            known_to timestamptz not null,
            replaced_by_ingest_id bigint not null,
            primary key (%3$s, known_from),
            constraint %4$I check (known_from < known_to)
        )
        $create$,
        target::text || '_version', target, key_columns, target::text || '_version_lasted'
    );
    execute format(
        'comment on table %I is %L',
        target::text || '_version',
        format(
            'Values that were in %s from known_from (included) to known_to (excluded).', target
        )
    );
end
$$;
comment on function create_version_table is
'Make <target>_version, which keeps what is replaced in target or withdrawn from it.';

create function holds_rows(
    target regclass,
    given_instrument_ids bigint[],
    given_provider text,
    dated_by text,
    first_moment text,
    last_moment text
) returns boolean
language plpgsql
-- The planner may hope to meet a row soon by reading the whole table, where there is none.
set enable_seqscan = off
as $$
declare
    wanted text := '';
    found boolean;
begin
    if exists (
        select from pg_index as key
        inner join pg_attribute as attribute
            on attribute.attrelid = key.indrelid and attribute.attnum = any(key.indkey)
        where key.indrelid = target and key.indisprimary and attribute.attname = 'provider'
    ) then
        wanted := format(' and held.provider = %L', given_provider);
    end if;
    if first_moment is not null then
        wanted := wanted
            || format(' and held.%I between %L and %L', dated_by, first_moment, last_moment);
    end if;
    execute format(
        $probe$
        select exists (
            select from unnest($1) as wanted (instrument_id)
            cross join lateral (
                select from %s as held
                where held.instrument_id = wanted.instrument_id %s
                limit 1
            ) as any_row
        )
        $probe$,
        target, wanted
    ) into found using given_instrument_ids;
    return found;
end
$$;
comment on function holds_rows is
'Whether target has a row of these instruments (and of this provider, where several stand side by side) with dated_by from first_moment to last_moment, or whenever.';

create function merge_staged_rows(
    target regclass,
    given_ingest_id bigint,
    given_loaded_at timestamptz,
    given_fetched_at timestamptz,
    given_provider text,
    names_provider boolean
) returns table (inserted bigint, restated bigint, stale bigint)
language plpgsql as $$
declare
    staged_columns text[];
    key_columns text[];
    value_columns text[];
    version regclass := (target::text || '_version')::regclass;
    same_key text;
    bounds text;
    bound text;
    column_name text;
    is_ordered boolean;
    names text;
    held_names text;
    new_names text;
    assignments text;
begin
    select array_agg(attname::text order by attnum)
    into staged_columns
    from pg_attribute
    where attrelid = 'staged_rows'::regclass and attnum > 0 and not attisdropped;

    select array_agg(attribute.attname::text)
    into key_columns
    from pg_index as key
    inner join pg_attribute as attribute
        on attribute.attrelid = key.indrelid and attribute.attnum = any(key.indkey)
    where key.indrelid = target and key.indisprimary;

    select array_agg(name) into value_columns
    from unnest(staged_columns) as staged (name)
    where name <> all(key_columns);

    -- A provider is part of the key where several providers' rows stand side by side.
    select string_agg(
        case when name = 'provider' then format('held.provider = %L', given_provider)
        else format('held.%1$I = given.%1$I', name) end,
        ' and '
    )
    into same_key
    from unnest(key_columns) as key (name);

    -- The batch's own instruments and bounds, as literals, let the planner leave out the rows of
    -- other instruments and other chunks. Instruments one by one, not as a range from the least to
    -- the greatest: TimescaleDB 2.19 fails to update compressed rows by a range of the column that
    -- they are segmented by ("btree index keys must be ordered by attribute").
    select format(' and held.instrument_id = any(%L::bigint[])', array_agg(distinct instrument_id))
    into bounds
    from staged_rows;

    foreach column_name in array key_columns loop
        continue when column_name = 'instrument_id' or column_name <> all(staged_columns);
        select attribute.atttypid in (
            'date'::regtype, 'timestamptz'::regtype, 'bigint'::regtype
        ) into is_ordered
        from pg_attribute as attribute
        where attribute.attrelid = target and attribute.attname = column_name;
        continue when not is_ordered;
        execute format(
            'select format(%1$L, min(%2$I), max(%2$I)) from staged_rows',
            format(' and held.%I between %%L and %%L', column_name),
            column_name
        ) into bound;
        bounds := bounds || bound;
    end loop;

    select
        string_agg(format('%I', name), ', '),
        string_agg(format('held.%I', name), ', '),
        string_agg(format('compared.%I', name), ', ')
    into names, held_names, new_names
    from unnest(staged_columns) as staged (name);

    select string_agg(format('%1$I = compared.%1$I', name), ', ')
    into assignments
    from unnest(value_columns) as value (name);

    return query execute format(
        $merge$
        with
        compared as materialized (
            -- Equal rows end here: they are neither locked nor written, so they cost no WAL.
            select
                given.*,
                held.instrument_id is null as is_new,
                coalesce(origin.fetched_at > %2$L::timestamptz, false) as is_stale,
                greatest(%3$L::timestamptz, held.known_from + interval '1 microsecond') as replaced_at
            from staged_rows as given
            left join %4$s as held on %5$s %6$s
            left join ingest_log as origin on origin.ingest_id = held.ingest_id
            where
                held.instrument_id is null
                or (%7$s) is distinct from (%8$s)
        ),

        kept as (
            insert into %9$s (%10$s, provider, ingest_id, known_from, known_to, replaced_by_ingest_id)
            select %11$s, held.provider, held.ingest_id, held.known_from, given.replaced_at, %1$s
            from compared as given
            inner join %4$s as held on %5$s %6$s
            where not given.is_new and not given.is_stale
        ),

        restated as (
            update %4$s as held
            set %12$s, provider = %13$L, ingest_id = %1$s, known_from = given.replaced_at
            from compared as given
            where %5$s %6$s and not given.is_new and not given.is_stale
        ),

        inserted as (
            insert into %4$s (%10$s, provider, ingest_id, known_from)
            select %14$s, %13$L, %1$s, %3$L::timestamptz
            from compared
            where compared.is_new
        )

        select
            count(*) filter (where compared.is_new),
            count(*) filter (where not compared.is_new and not compared.is_stale),
            count(*) filter (where not compared.is_new and compared.is_stale)
        from compared
        $merge$,
        given_ingest_id, given_fetched_at, given_loaded_at, target, same_key, bounds,
        (select string_agg(format('held.%I', name), ', ') from unnest(value_columns) as value (name))
        || case when names_provider then ', held.provider' else '' end,
        (select string_agg(format('given.%I', name), ', ') from unnest(value_columns) as value (name))
        || case when names_provider then format(', %L', given_provider) else '' end,
        version, names, held_names,
        replace(assignments, 'compared.', 'given.'), given_provider, new_names
    );
end
$$;
comment on function merge_staged_rows is
'Tell new, equal and restated rows of staged_rows apart and keep what is replaced in <target>_version. Where names_provider, who said it is part of what is said: another provider''s equal row is restated by it.';

create function withdraw_missing_rows(
    target regclass,
    given_instrument_id bigint,
    given_ingest_id bigint,
    given_loaded_at timestamptz
) returns bigint
language plpgsql as $$
declare
    names text;
    same_key text;
    withdrawn bigint;
    staged bigint;
begin
    select string_agg(format('%I', attribute.attname), ', ' order by attribute.attnum)
    into names
    from pg_attribute as attribute
    where attribute.attrelid = target and attribute.attnum > 0 and not attribute.attisdropped;

    select string_agg(format('given.%1$I = held.%1$I', attribute.attname), ' and ')
    into same_key
    from pg_index as key
    inner join pg_attribute as attribute
        on attribute.attrelid = key.indrelid and attribute.attnum = any(key.indkey)
    where key.indrelid = target and key.indisprimary;

    execute format(
        $withdraw$
        with gone as (
            delete from %1$s as held
            where
                held.instrument_id = %2$s
                and not exists (select from staged_rows as given where %3$s)
            returning held.*
        )

        insert into %4$s (%5$s, known_to, replaced_by_ingest_id)
        select %5$s, greatest(%6$L::timestamptz, gone.known_from + interval '1 microsecond'), %7$s
        from gone
        $withdraw$,
        target, given_instrument_id, same_key, (target::text || '_version')::regclass, names,
        given_loaded_at, given_ingest_id
    );
    get diagnostics withdrawn = row_count;
    select count(*) into staged from staged_rows;
    -- A provider corrects a row or two; one that has lost most of them is ill.
    if withdrawn > greatest(staged, 1) then
        raise exception 'the answer has % rows and lacks % that are stored', staged, withdrawn
        using errcode = 'check_violation', hint = 'look at the provider''s answer; nothing was changed';
    end if;
    return withdrawn;
end
$$;
comment on function withdraw_missing_rows is
'Move rows of one instrument that staged_rows lacks to <target>_version: the provider has withdrawn or moved them.';
