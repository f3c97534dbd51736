"""The button on the first page of Orthanc Explorer that leads to the page.

Orthanc's plugin SDK, ``OrthancPluginExtendOrthancExplorer``: JavaScript that Orthanc Explorer runs
after its own. There is one such text for each plugin, and all Python scripts are one plugin.
"""

from __future__ import annotations

__all__ = ["BUTTON"]

BUTTON = """\
$('#lookup').live('pagebeforeshow', function() {
  $('#open-gcp-app').remove();
  $('<a>')
    .attr({
      'id': 'open-gcp-app',
      'href': '../gcp/app/index.html',
      'data-role': 'button',
      'data-ajax': 'false',
      'data-icon': 'forward',
      'data-theme': 'a'
    })
    .text('Google Cloud')
    .button()
    .insertAfter($('#lookup-result'));
});
"""
"""Addresses are relative, since a proxy may add a path before Orthanc's."""
