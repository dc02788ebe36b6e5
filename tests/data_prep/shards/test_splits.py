import itertools

import pytest

from data_prep.shards import splits
from data_prep.sources import items


def listing(num_images: int) -> list[items.Item]:
    return [
        items.make_item("source", str(index), index % 3, index)
        for index in range(num_images)
    ]


def assign(listed, **changes):
    options = {"test": 0.2, "validation": 0.1} | changes
    return splits.assign(listed, splits.Shares(**options), 3)


def test_every_image_is_in_one_place():
    listed = listing(300)
    assignment = assign(listed, labeled_per_class=4)
    placed = [*assignment.rest, *itertools.chain(*assignment.splits.values())]
    assert sorted(item.locator for item in placed) == list(range(300))
    train = assignment.splits[splits.TRAIN]
    assert splits.count_per_class(train, 3) == [4, 4, 4]


def test_shares_are_about_as_asked():
    assignment = assign(listing(3000)).splits
    assert abs(len(assignment[splits.TEST]) - 600) < 80
    assert abs(len(assignment[splits.VALIDATION]) - 300) < 60


def test_held_out_images_do_not_depend_on_the_others():
    few = {item.key for item in assign(listing(150)).splits[splits.TEST]}
    many = {item.key for item in assign(listing(300)).splits[splits.TEST]}
    assert few == {key for key in many if int(key) < 150}


def test_fewer_labeled_images_are_a_subset():
    listed = listing(300)
    few, many = (
        {
            item.key
            for item in assign(listed, labeled_per_class=n).splits["train"]
        }
        for n in (2, 9)
    )
    assert few < many


def test_split_that_is_not_asked_for_is_absent():
    assignment = assign(listing(30), test=0.0)
    assert set(assignment.splits) == {splits.TRAIN, splits.VALIDATION}


def test_empty_held_out_split_is_an_error():
    with pytest.raises(
        ValueError, match=r"--data.evaluation_fraction=0.001 of 3 images holds"
    ):
        assign(listing(3), test=0.001, validation=0.0)


def test_shards_are_mixed_and_of_equal_size():
    ordered_by_class = sorted(listing(90), key=lambda item: item.label)
    placed = splits.place(ordered_by_class, num_shards=3, is_shuffled=False)
    assert [len(shard) for shard in placed] == [30, 30, 30]
    for shard in placed:
        assert min(splits.count_per_class(shard, 3)) >= 4


def test_shuffled_source_keeps_its_order():
    listed = listing(7)
    placed = splits.place(listed, num_shards=2, is_shuffled=True)
    assert [item for shard in placed for item in shard] == listed


def test_there_are_no_more_shards_than_images():
    assert len(splits.place(listing(2), num_shards=8, is_shuffled=False)) == 2


def test_another_seed_draws_splits_and_labels_anew():
    listed = listing(300)
    first, again, other = (
        assign(listed, labeled_per_class=4, seed=seed).splits
        for seed in (0, 0, 1)
    )
    assert first == again
    for split in (splits.TRAIN, splits.VALIDATION, splits.TEST):
        assert first[split] != other[split]


def labeled(counts: list[int]) -> list[items.Item]:
    return [
        items.make_item("source", f"{label}/{index}", label, index)
        for label, count in enumerate(counts)
        for index in range(count)
    ]


def test_stratified_splits_hold_out_of_every_class():
    listed = labeled([300, 30, 4, 3, 2, 1])
    shares = splits.Shares(test=0.2, validation=0.1, how="stratified")
    found = splits.assign(listed, shares, 6).splits
    counts = {name: splits.count_per_class(found[name], 6) for name in found}
    assert counts == {
        "train": [210, 21, 2, 2, 2, 1],
        "validation": [30, 3, 1, 0, 0, 0],
        "test": [60, 6, 1, 1, 0, 0],
    }


def test_ids_decide_within_a_class():
    shares = splits.Shares(test=0.2, validation=0.1, how="stratified")
    few, many = (
        splits.assign(labeled([size, 50]), shares, 2).splits["test"]
        for size in (50, 60)
    )
    # Of the other class all, of this one those of the smallest hashes.
    assert [i for i in few if i.label] == [i for i in many if i.label]
    kept = {i.key for i in few} & {i.key for i in many}
    assert len(kept) >= 17


@pytest.mark.parametrize("test, validation", [(0.5, 0.49), (0.9, 0.05)])
@pytest.mark.parametrize("num_images", range(1, 12))
def test_one_image_of_every_class_trains(test, validation, num_images):
    shares = splits.Shares(test=test, validation=validation)
    assert sum(splits.num_held_out(num_images, shares)) < num_images


def test_splits_of_the_source_stay_and_the_others_are_drawn():
    listed = [
        *labeled([20, 20]),
        items.make_item("source", "held out", 1, 0, split=splits.TEST),
        items.make_item("source", "heap", None, 0, split=splits.UNLABELED),
    ]
    shares = splits.Shares(test=0.2, validation=0.1, how="stratified")
    found = splits.assign(listed, shares, 2)
    assert [item.key for item in found.splits["test"]] == ["held out"]
    assert [item.key for item in found.rest] == ["heap"]
    assert len(found.splits["validation"]) == 4
    assert len(found.splits["train"]) == 36
