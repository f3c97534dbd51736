// @googleapis/healthcare: a store is made, filled, searched, read and deleted.
import { readFileSync } from 'node:fs';
import { healthcare } from '@googleapis/healthcare';
import { OAuth2Client } from 'google-auth-library';

const wanted = JSON.parse(readFileSync(0, 'utf8'));
const auth = new OAuth2Client();
auth.setCredentials({ access_token: wanted.token });
const api = healthcare({ version: 'v1', auth, rootUrl: `${wanted.url}/` });
const { datasets } = api.projects.locations;
const stores = datasets.dicomStores;

// Left to itself the library takes DICOM JSON for a blob.
const asJson = { responseType: 'json' };
const facts = {};
facts.datasets = (await datasets.list({ parent: wanted.location })).data.datasets;
const store = await stores.create({
  parent: wanted.dataset,
  dicomStoreId: 'from-node',
  requestBody: { labels: { by: 'node' } },
});
facts.store = store.data;
const parent = store.data.name;
const content = readFileSync(wanted.file);
const stored = await stores.storeInstances({
  parent,
  dicomWebPath: 'studies',
  requestBody: content,
}, { headers: { 'Content-Type': 'application/dicom', Accept: 'application/dicom+json' } });
facts.stored = stored.status;
const found = await stores.searchForStudies({ parent, dicomWebPath: 'studies' }, asJson);
facts.studies = found.data;
const path = wanted.instance;
const metadata = await stores.studies.series.instances.retrieveMetadata({
  parent, dicomWebPath: `${path}/metadata`,
}, asJson);
facts.metadata = metadata.data;
const file = await stores.studies.series.instances.retrieveInstance(
  { parent, dicomWebPath: path },
  { headers: { Accept: 'application/dicom; transfer-syntax=*' }, responseType: 'arraybuffer' },
);
facts.same = content.equals(Buffer.from(file.data));
const frames = await stores.studies.series.instances.frames.retrieveFrames(
  { parent, dicomWebPath: `${path}/frames/1` },
  {
    headers: { Accept: 'multipart/related; type="application/octet-stream"' },
    responseType: 'arraybuffer',
  },
);
facts.frame = Buffer.from(frames.data).toString('base64');
facts.metrics = (await stores.getDICOMStoreMetrics({ name: parent })).data;
const removal = await stores.studies.delete({ parent, dicomWebPath: wanted.study });
facts.operation = (await datasets.operations.get({ name: removal.data.name })).data;
facts.left = (await stores.searchForStudies({ parent, dicomWebPath: 'studies' })).status;
await stores.delete({ name: parent });
facts.gone = await stores.get({ name: parent }).catch((error) => error.status);
console.log(JSON.stringify(facts));
