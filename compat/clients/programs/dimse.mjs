// dcmjs-dimse as a workstation: one request, and what came of it; files into the current folder.
import { readFileSync, writeFileSync } from 'node:fs';
import dcmjsDimse from 'dcmjs-dimse';

const { Client, Dataset, Scp, Server, constants, log, requests, responses } = dcmjsDimse;
const { PresentationContextResult, Status } = constants;
const wanted = JSON.parse(readFileSync(0, 'utf8'));
log.setLevel('silent');

const facts = { statuses: [], comments: [], matches: [], counts: [], received: [], problem: null };

function keep(request) {
  const dataset = request.getDataset();
  const elements = dataset.getElements();
  facts.received.push({
    instance: request.getAffectedSopInstanceUid(),
    patient: JSON.stringify(elements.PatientName),
    syntax: dataset.getTransferSyntaxUid(),
  });
  dataset.toFile(`${request.getAffectedSopInstanceUid()}.dcm`);
  const response = responses.CStoreResponse.fromRequest(request);
  response.setStatus(Status.Success);
  return response;
}

class Destination extends Scp {
  associationRequested(association) {
    for (const { id } of association.getPresentationContexts()) {
      const context = association.getPresentationContext(id);
      context.setResult(PresentationContextResult.Accept, context.getTransferSyntaxUids()[0]);
    }
    this.sendAssociationAccept();
  }

  cStoreRequest(request, callback) {
    callback(keep(request));
  }

  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
}

function build() {
  switch (wanted.service) {
    case 'echo': return new requests.CEchoRequest();
    case 'find': return requests.CFindRequest.createStudyFindRequest(wanted.keys);
    case 'move': return requests.CMoveRequest.createStudyMoveRequest(wanted.to, wanted.study);
    case 'get': return requests.CGetRequest.createStudyGetRequest(wanted.study);
    case 'store': return new requests.CStoreRequest(wanted.file);
    default: throw new Error(wanted.service);
  }
}

const client = new Client();
const request = build();
request.on('response', (response) => {
  facts.statuses.push(response.getStatus());
  facts.comments.push(response.getErrorComment() ?? null);
  if (wanted.service === 'find' && response.hasDataset()) {
    facts.matches.push(response.getDataset().getElements());
    if (wanted.cancelAfter === facts.matches.length) {
      client.cancel(request);
    }
  }
  if (wanted.service === 'move' || wanted.service === 'get') {
    facts.counts.push([response.getCompleted(), response.getFailures(), response.getWarnings()]);
  }
});
client.on('cStoreRequest', (stored, callback) => callback(keep(stored)));
client.on('networkError', (error) => { facts.problem = String(error); });
client.on('associationRejected', (result) => { facts.problem = JSON.stringify(result); });

let server = null;
if (wanted.listen) {
  server = new Server(Destination);
  server.on('networkError', (error) => { facts.problem = String(error); });
  server.listen(wanted.listen, wanted.options ?? {});
}
const ended = new Promise((resolve) => { client.on('closed', resolve); });
client.addRequest(request);
client.send('127.0.0.1', wanted.port, 'WORKSTATION', 'GOOGLE', wanted.options ?? {});
await ended;
server?.close();
writeFileSync(1, JSON.stringify(facts));
process.exit(0);
