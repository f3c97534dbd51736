"""The tables of the emulator, made when they are not there yet.

Stores, studies, series and instances are rows with numbers, which the rows below refer to. A store
that is deleted loses its name and keeps its row, so that its number is not used again while
instances of it arrive or are searched for.
"""

from __future__ import annotations

__all__ = ["SCHEMA", "SEARCHED"]

_RESOURCES = """
CREATE TABLE IF NOT EXISTS datasets (name TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stores (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, dataset TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS policies (name TEXT PRIMARY KEY, body TEXT NOT NULL);
"""
"""By their names; ``body`` is the JSON that Google shows."""

_INSTANCES = """
CREATE TABLE IF NOT EXISTS studies (
    id INTEGER PRIMARY KEY, store INTEGER NOT NULL REFERENCES stores, uid TEXT NOT NULL,
    patient_name TEXT NOT NULL, patient_id TEXT NOT NULL, accession_number TEXT NOT NULL,
    referring_physician TEXT NOT NULL, study_date TEXT NOT NULL, attributes TEXT NOT NULL,
    UNIQUE (store, uid));
CREATE INDEX IF NOT EXISTS studies_by_patient ON studies (store, patient_id);
CREATE INDEX IF NOT EXISTS studies_by_accession ON studies (store, accession_number);
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, study INTEGER NOT NULL REFERENCES studies, uid TEXT NOT NULL,
    modality TEXT NOT NULL, attributes TEXT NOT NULL, UNIQUE (study, uid));
CREATE INDEX IF NOT EXISTS series_by_uid ON series (uid);
CREATE TABLE IF NOT EXISTS instances (
    id INTEGER PRIMARY KEY, series INTEGER NOT NULL REFERENCES series, uid TEXT NOT NULL,
    sop_class TEXT NOT NULL, transfer_syntax TEXT NOT NULL, size INTEGER NOT NULL,
    sha256 BLOB NOT NULL, file TEXT NOT NULL UNIQUE, attributes TEXT NOT NULL,
    UNIQUE (series, uid));
CREATE INDEX IF NOT EXISTS instances_by_uid ON instances (uid);
CREATE TABLE IF NOT EXISTS contents (
    instance INTEGER PRIMARY KEY REFERENCES instances, content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS storage_classes (
    file TEXT PRIMARY KEY, name TEXT NOT NULL, updated REAL NOT NULL);
"""
"""``attributes`` is DICOM JSON: what searches return of a level of the hierarchy. ``contents`` are
those of instances without a ``file``. Sizes are in bytes, ``updated`` in seconds since 1970."""

_OPERATIONS = """
CREATE TABLE IF NOT EXISTS operations (
    name TEXT PRIMARY KEY, dataset TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (operation TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS changed (
    operation TEXT NOT NULL, instance TEXT NOT NULL, PRIMARY KEY (operation, instance))
    WITHOUT ROWID;
"""
"""Operations as Google shows them, what it takes to go on with those that have not ended, and which
instances such an operation has changed already."""

_MESSAGES = """
CREATE TABLE IF NOT EXISTS topics (
    name TEXT PRIMARY KEY, project TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS subscriptions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, project TEXT NOT NULL,
    topic TEXT NOT NULL, retention REAL NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS subscriptions_by_topic ON subscriptions (topic);
CREATE TABLE IF NOT EXISTS backlog (
    id INTEGER PRIMARY KEY AUTOINCREMENT, subscription INTEGER NOT NULL, message TEXT NOT NULL,
    ends REAL NOT NULL, due REAL NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS backlog_by_due ON backlog (subscription, due, id);
CREATE INDEX IF NOT EXISTS backlog_by_end ON backlog (ends);
"""
"""Pub/Sub; ``retention`` is in seconds, ``ends`` and ``due`` in seconds since 1970."""

_OBJECTS = """
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, name TEXT NOT NULL, file TEXT NOT NULL, generation INTEGER NOT NULL,
    metageneration INTEGER NOT NULL, created REAL NOT NULL, updated REAL NOT NULL,
    md5 TEXT, crc32c TEXT, fields TEXT NOT NULL, PRIMARY KEY (bucket, name)) WITHOUT ROWID;
"""
"""What Cloud Storage says of an object besides its content: of the file that ``file`` identifies.
``created`` and ``updated`` are in seconds since 1970, ``fields`` is JSON."""

SEARCHED = ("stores", "studies", "series", "instances", "storage_classes")
"""The tables that it takes to search, in which changes are made again for searches that lag."""

SCHEMA = _RESOURCES + _INSTANCES + _OPERATIONS + _MESSAGES + _OBJECTS
