-- Work that no longer exists ends as such: whoever was to do it says why.

insert into dead_letter_legal_transition (from_state, to_state) values
('open', 'obsolete'),
('retrying', 'obsolete'),
('parked', 'obsolete');

comment on table dead_letter_legal_transition is
'What a letter may become; from null is its creation. Resolved, discarded and obsolete are final.';
