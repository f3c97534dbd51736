"""odil moves a study to itself: one process receives, by odil's own SCP, another one asks."""

import json
import multiprocessing
import sys
from pathlib import Path

import odil

PC = odil.AssociationParameters.PresentationContext
SYNTAXES = [odil.registry.ExplicitVRLittleEndian, odil.registry.ImplicitVRLittleEndian]
MODEL = odil.registry.StudyRootQueryRetrieveInformationModelMove


def receive(port, folder):
    """Take what comes over one association, into files."""
    association = odil.Association()
    association.set_tcp_timeout(60)
    association.receive_association("v4", port)

    def stored(data_set):
        uid = data_set.as_string("SOPInstanceUID")[0].decode()
        with odil.open(str(folder / f"{uid}.dcm"), "wb") as file:
            odil.Writer.write_file(data_set, file)
        return odil.messages.ResponseStatus.Success

    scp = odil.StoreSCP(association)
    scp.set_callback(lambda request: stored(request.get_data_set()))
    dispatcher = odil.SCPDispatcher(association)
    dispatcher.set_store_scp(scp)
    try:
        while True:
            dispatcher.dispatch()
    except odil.AssociationReleased:
        pass


def main():
    wanted = json.load(sys.stdin)
    receiver = multiprocessing.Process(
        target=receive, args=(wanted["listen"], Path(wanted["folder"]))
    )
    receiver.start()
    association = odil.Association()
    association.set_peer_host("127.0.0.1")
    association.set_peer_port(wanted["port"])
    parameters = association.update_parameters()
    parameters.set_calling_ae_title("WORKSTATION").set_called_ae_title("GOOGLE")
    parameters.set_presentation_contexts([PC(1, MODEL, SYNTAXES, PC.Role.SCU)])
    association.associate()
    query = odil.DataSet()
    query.add("QueryRetrieveLevel", ["STUDY"])
    query.add("StudyInstanceUID", [wanted["study"]])
    scu = odil.MoveSCU(association)
    scu.set_affected_sop_class(MODEL)
    scu.set_move_destination(wanted["to"])
    responses = []

    def moved(response):
        completed = response.has_number_of_completed_sub_operations()
        responses.append(
            (
                response.get_status(),
                response.get_number_of_completed_sub_operations() if completed else None,
            )
        )

    scu.move(query, lambda data_set: None, moved)
    association.release()
    receiver.join(60)
    print(json.dumps({"responses": responses, "received": receiver.exitcode}))


main()
