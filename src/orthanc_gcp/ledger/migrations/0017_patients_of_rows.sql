-- Of which patient of Orthanc an instance is: the study alone does not say it, as a PatientID may
-- have been corrected. What is there already is asked for, where Orthanc recycles.

ALTER TABLE gcp_transfers ADD COLUMN patient_orthanc_id TEXT;
