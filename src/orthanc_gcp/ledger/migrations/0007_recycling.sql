-- Patients that Orthanc must not recycle yet, and what it recycled before it was read.

CREATE TABLE gcp_patients (
    source TEXT NOT NULL,
    orthanc_id TEXT NOT NULL,
    guard TEXT NOT NULL,
    since FLOAT,
    size_bytes BIGINT NOT NULL,
    PRIMARY KEY (source, orthanc_id)
);

CREATE TABLE gcp_patient_studies (
    source TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    orthanc_id TEXT NOT NULL,
    PRIMARY KEY (source, study_instance_uid, orthanc_id)
);

CREATE INDEX gcp_patient_studies_patient ON gcp_patient_studies (source, orthanc_id);
