CREATE TABLE hook_receipt_ids (
    session_id  text COLLATE "C" NOT NULL,
    event_id    text COLLATE "C" NOT NULL,
    "timestamp" timestamptz NOT NULL,
    PRIMARY KEY (session_id, event_id)
);
CREATE INDEX hook_receipt_ids_timestamp ON hook_receipt_ids USING brin ("timestamp");
COMMENT ON TABLE hook_receipt_ids IS
    'IDs of the last day''s events whose time is the time of receipt, so that two servers that receive one event store it once.';
