-- `told` is the version of a faulty policy file that somebody has been told of, so that it is told once.
-- `doubts` counts the pushes that touched the file, so that what was read before one is not taken for what came after.
ALTER TABLE policy
    ADD COLUMN told   text    NOT NULL DEFAULT '',
    ADD COLUMN doubts integer NOT NULL DEFAULT 0;
