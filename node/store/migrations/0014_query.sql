-- Indexes from which searches are answered without a look at the rows of studies that are not told.

-- The order of every answer, newest first. The name stands in it so that names with a wildcard in front are looked for
-- in this index alone.
DROP INDEX study_date;
CREATE INDEX study_date ON study (date DESC, id, patient_name_match);

-- Names that begin so, with what they are ordered by.
DROP INDEX study_name;
CREATE INDEX study_name ON study (patient_name_match, date);
