-- Why a provider asked everyone to hold: shown to those whose work is put off until it ends.

alter table request_budget add column pause_reason text;
comment on column request_budget.pause_reason is 'What the provider said when it asked for it.';
