import pytest

from embedded import miniature
from layalign.embedded.hub import download_snapshot
from layalign.errors import DownloadError


def test_a_failure_of_the_hub_client_is_one_clear_line(tmp_path):
    model = miniature.miniature(hub_id="not a hub id")  # refused before any connection
    message = r"cannot download not a hub id .*: Repo id must .*--from pypi"
    with pytest.raises(DownloadError, match=message) as caught:
        download_snapshot(tmp_path, model)
    assert "\n" not in str(caught.value)
