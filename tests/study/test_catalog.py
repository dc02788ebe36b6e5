import pytest

from study import catalog


def test_unknown_study_names_the_nearest():
    with pytest.raises(ValueError, match=r"--name=nois: .*mean noise\?"):
        catalog.study("nois")


def test_names_are_unique():
    names = [study.name for study in catalog.STUDIES]
    names += {study.experiment.name for study in catalog.STUDIES}
    assert len(names) == len(set(names))


def test_an_experiment_stands_for_all_its_studies():
    names = [study.name for study in catalog.of_names(["solar_cells"])]
    assert names == ["solar_cells_40", "solar_cells_20", "solar_cells_100"]


def test_studies_of_several_sets_have_no_common_document():
    with pytest.raises(ValueError, match="fashion_mnist, solar_cells"):
        catalog.of_names(["main", "solar_cells_40"])
