-- Whose run was killed after its load, nobody refreshes: what waits too long is looked for
-- (sensor waiting_aggregates).

alter table minute_bar_invalidation
add column noted_at timestamptz not null default now();
comment on column minute_bar_invalidation.noted_at is
'When the writer of the bars began its transaction; of what waited before this column came, when that was.';

alter table daily_bar_invalidation
add column noted_at timestamptz not null default now();
comment on column daily_bar_invalidation.noted_at is
'When the writer of the bars began its transaction; of what waited before this column came, when that was.';
