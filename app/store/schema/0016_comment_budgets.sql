-- The budget that each of our comments used; those that a process of the previous release writes count as ordinary.
ALTER TABLE comment_log ADD COLUMN budget text NOT NULL DEFAULT 'ordinary'
    CHECK (budget IN ('urgent', 'ordinary', 'outsiders'));
