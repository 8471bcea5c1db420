-- Where the frames of compressed objects lie whose data sets have no table of it: found once by going from fragment to
-- fragment, which takes a second for a long one, and kept for the next start. `frames` is `dicom.frames`' own encoding.
CREATE TABLE frame_table (
    object_id BLOB NOT NULL PRIMARY KEY REFERENCES instance (object_id) ON DELETE CASCADE ON UPDATE CASCADE,
    frames    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
