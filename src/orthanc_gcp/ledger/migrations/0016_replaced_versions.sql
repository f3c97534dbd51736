-- Earlier releases called several versions of an instance confirmed, of which a store has one.
-- Whether it is the newest is to be read back by its bytes, whatever was sent last. (|| '' and + 0
-- leave only the index of SOP Instance UIDs: by that of series, each row would read a series.)

UPDATE gcp_transfers
SET state = 'acknowledged', confirmed_at = NULL, next_attempt_at = 0, stored_sha256 = 'unsure',
    acknowledged_at = COALESCE(acknowledged_at, confirmed_at, received_at)
WHERE state IN ('acknowledged', 'confirmed') AND COALESCE(reason, '') <> 'retrieved' AND EXISTS (
    SELECT 1 FROM gcp_transfers AS other
    WHERE other.sop_instance_uid = gcp_transfers.sop_instance_uid
    AND other.series_instance_uid || '' = gcp_transfers.series_instance_uid
    AND other.study_instance_uid || '' = gcp_transfers.study_instance_uid
    AND other.destination_id + 0 = gcp_transfers.destination_id
    AND other.state IN ('acknowledged', 'confirmed') AND COALESCE(other.reason, '') <> 'retrieved'
    AND other.sha256 <> gcp_transfers.sha256
);

-- The others are not the current version, as ledger/versions.py has it.

UPDATE gcp_transfers
SET state = 'superseded', reason = 'superseded', batch = NULL, next_attempt_at = NULL,
    detail = 'a newer version of it, with the same UIDs, was received'
WHERE state = 'acknowledged' AND stored_sha256 = 'unsure' AND EXISTS (
    SELECT 1 FROM gcp_transfers AS other
    WHERE other.sop_instance_uid = gcp_transfers.sop_instance_uid
    AND other.series_instance_uid || '' = gcp_transfers.series_instance_uid
    AND other.study_instance_uid || '' = gcp_transfers.study_instance_uid
    AND other.destination_id + 0 = gcp_transfers.destination_id
    AND other.state = 'acknowledged' AND other.stored_sha256 = 'unsure'
    AND other.sha256 <> gcp_transfers.sha256
    AND (
        other.received_at > gcp_transfers.received_at
        OR other.received_at = gcp_transfers.received_at AND (
            other.source = gcp_transfers.source AND other.change_seq > gcp_transfers.change_seq
            OR other.id > gcp_transfers.id AND (
                other.source <> gcp_transfers.source
                OR other.change_seq = gcp_transfers.change_seq
            )
        )
    )
);

-- Before version 6, which did not know the stores, a search for one study spoke for another one
-- with the same series.

UPDATE gcp_transfers
SET state = 'acknowledged', confirmed_at = NULL, next_attempt_at = 0,
    acknowledged_at = COALESCE(acknowledged_at, confirmed_at, received_at)
WHERE state = 'confirmed'
AND destination_id IN (SELECT id FROM gcp_destinations WHERE store IS NULL) AND EXISTS (
    SELECT 1 FROM gcp_transfers AS other
    WHERE other.sop_instance_uid = gcp_transfers.sop_instance_uid
    AND other.series_instance_uid || '' = gcp_transfers.series_instance_uid
    AND other.study_instance_uid || '' <> gcp_transfers.study_instance_uid
    AND other.destination_id + 0 = gcp_transfers.destination_id
);
