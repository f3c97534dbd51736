"""An installation is taken out again, and what the user wrote meanwhile stays."""

from __future__ import annotations

import random
import re
import shutil

import pytest

from orthanc_gcp.configuration.files import read_files
from tests.support.debian_orthanc import contents
from tests.support.installed_site import Site, clear_away


def test_an_old_copy_is_not_taken_for_what_was(site):
    """One that an installation has left which was killed before it edited the file."""
    files = [site.config] if site.config.is_file() else sorted(site.config.glob("*.json"))
    before = contents(site.folder)
    for file in files:
        file.with_name(f"{file.name}.before-orthanc-gcp").write_text('{"StableAge" : 1}')
    site.install()
    site.uninstall()
    clear_away(site)
    assert contents(site.folder) == before


def test_an_option_that_is_emptied_again(site):
    """The copy stays that of before the first installation."""
    before = contents(site.folder)
    site.install()
    main = site.config if site.config.is_file() else site.config / "orthanc.json"
    authorities = '"HttpsCACertificates" : "/etc/ssl/certs/ca-certificates.crt"'
    main.write_text(main.read_text().replace(authorities, '"HttpsCACertificates" : ""'))
    site.install()
    assert authorities in main.read_text()
    site.uninstall()
    clear_away(site)
    assert contents(site.folder) == before


def test_the_script_in_the_section_python(debian):
    """As version 4.1 of the Python plugin has it; ``PythonScript`` would come first."""
    site = Site(debian.configuration)
    file = debian.configuration / "python.json"
    section = '{ "Path" : "/etc/orthanc/sample.py", "Verbose" : false }'
    file.write_text('{ "Mine" : { "Path" : "no" }, "Python" : ' + section + " }")
    before = contents(site.folder)
    site.install()
    text = file.read_text()
    assert text.replace("/etc/orthanc/sample.py", "x").count("x") == text.count("x")
    options = read_files([site.config])
    assert options["Python"]["Path"] == str(debian.configuration / "orthanc_gcp_plugin.py")
    assert "PythonScript" not in options
    file.write_text(text.replace("false", "true"))
    site.uninstall()
    assert '"/etc/orthanc/sample.py", "Verbose" : true' in file.read_text()
    file.write_text(file.read_text().replace("true", "false"))
    assert contents(site.folder) == before


def test_two_single_files_of_one_folder(site):
    """What the one still needs stays when it is taken out of the other."""
    if site.config.is_dir():
        pytest.skip("Orthanc reads all files of a folder")
    other = Site(site.folder / "other.json")
    shutil.copy(site.config, other.config)
    site.install()
    other.install()
    site.uninstall()
    other.see_that_orthanc_could_start()
    other.uninstall()
    assert not (site.folder / "orthanc_gcp_plugin.py").exists()


BLANKS = ("", " ", "\n", "\r\n  ", ' // x "A": {\n', "/* } , */", "\t")


def written_by_hand(dice: random.Random) -> str:
    """A configuration in one file, as nobody would format it."""

    def blank() -> str:
        return dice.choice(BLANKS)

    plugins = '["/usr/share/orthanc/plugins/"]', "[]", "[ ]", '["/no.so" // a\n]'
    members = [("Name", '"x"'), ("Plugins", dice.choice(plugins))]
    members += [("HttpsCACertificates", dice.choice(('""', '"/own.pem"')))] * dice.randint(0, 1)
    members += [("PythonScript", '"/etc/orthanc/sample.py"')] * dice.randint(0, 1)
    members += [("Other", '{"PythonScript": "no", "Plugins": ["z"]}')] * dice.randint(0, 1)
    dice.shuffle(members)
    texts = [f'{blank()}"{name}":{blank()}{value}' for name, value in members]
    return blank() + "{" + (blank() + ",").join(texts) + blank() + "}" + blank()


@pytest.mark.parametrize("seed", range(40))
def test_only_what_the_user_edits_meanwhile_is_left(tmp_path, seed):
    dice = random.Random(seed)
    site = Site(tmp_path / "orthanc.json")
    site.config.write_text(written_by_hand(dice), newline="")
    before, options = site.config.read_bytes(), read_files([site.config])
    site.install()
    site.see_that_orthanc_could_start()
    text = site.config.read_bytes().decode()
    end = text.rindex("}")
    edits = (text, text.replace('"x"', '"y"'), f'{text[:end]},"Mine":1{text[end:]}')
    edited = dice.choice(edits)
    site.config.write_bytes(edited.encode())
    mine = {k: v for k, v in read_files([site.config]).items() if k in ("Name", "Mine")}
    site.uninstall()
    assert read_files([site.config]) == {**options, **mine}
    if edited == text:
        assert site.config.read_bytes() == before
    assert list(tmp_path.iterdir()) == [site.config]


MINE = '{"Id": "mine", "HttpMethod": "GET", "Url": "../../{UUID}"}'


def explorer_file(site, levels):
    """Orthanc Explorer 2 in the configuration, with buttons of the user's."""
    text = f'"OrthancExplorer2": {{"UiOptions": {{"CustomButtons": {{{levels}}}}}}}'
    if site.config.is_dir():
        file = site.config / "explorer2.json"
        file.write_text(f"{{{text} // mine\n}}\n")
    else:
        file = site.config
        file.write_text(file.read_text().rstrip().removesuffix("}").rstrip() + f",\n  {text}\n}}\n")
    return file


@pytest.mark.parametrize("levels", ['"series": []', f'"study": [{MINE} /* mine */]'])
def test_buttons_of_orthanc_explorer_2(site, levels):
    file = explorer_file(site, levels)
    before = contents(site.folder)
    site.install()
    once = file.read_text()
    assert once.count("orthanc-gcp-send") == 3
    site.install()
    assert file.read_text() == once
    site.uninstall()
    clear_away(site)
    assert contents(site.folder) == before


def test_buttons_that_were_added_meanwhile_stay(site):
    file = explorer_file(site, f'"study": [{MINE}]')
    site.install()
    other = MINE.replace("mine", "other")
    text = file.read_text()
    file.write_text(re.sub(r'("bulk-studies"\s*:\s*\[)', rf"\1 {other},", text, count=1))
    site.uninstall()
    options = read_files([site.config])["OrthancExplorer2"]["UiOptions"]["CustomButtons"]
    ids = {level: [one["Id"] for one in found] for level, found in options.items()}
    assert ids == {"bulk-studies": ["other"], "study": ["mine"]}
