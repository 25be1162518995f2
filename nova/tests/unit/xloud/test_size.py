# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

import hypothesis
from hypothesis import strategies as st

from nova import objects
from nova import test
from nova.tests.unit.xloud import fakes
from nova.xloud import entries
from nova.xloud import notes
from nova.xloud import size


def books(instance):
    return (instance.vcpus, instance.memory_mb, entries.of(instance))


def note_all(instance):
    """Note all that can be of a guest that has not done what it should."""
    notes.set_outcome(instance, 'Overcommitted', 'No room.')
    notes.note_excess(instance, size.maximum(instance.flavor))
    notes.set_pending(instance, 'The charge falls later.')
    notes.set_offline(instance, 'The guest has 2 vCPUs and uses 1.')
    notes.await_guest(instance, 'req-of-somebody')
    notes.note_settling(instance, True)
    notes.note_config(instance, is_current=False)


def is_anything_noted(instance):
    return (notes.outcome(instance) or notes.pending(instance) or
            notes.offline(instance) or
            notes.awaited(instance) or notes.is_settling(instance) or
            not notes.is_config_current(instance))


class FlavorSizeTestCase(test.NoDBTestCase):

    def test_both_dimensions(self):
        flavor = fakes.flavor(cpu=2, memory=4096)
        self.assertTrue(size.is_elastic(flavor))
        self.assertEqual((2, 4096), size.minimum(flavor))
        self.assertEqual((8, 16384), size.maximum(flavor))
        self.assertEqual('2 vCPUs, 4096 MiB', str(size.minimum(flavor)))

    def test_a_dimension_without_its_key_is_fixed(self):
        self.assertEqual((2, 16384), size.minimum(fakes.flavor(cpu=2)))
        self.assertEqual((8, 4096), size.minimum(fakes.flavor(memory=4096)))
        self.assertTrue(size.has_elastic_vcpus(fakes.flavor(cpu=2)))
        self.assertFalse(size.has_elastic_memory(fakes.flavor(cpu=2)))

    def test_not_elastic(self):
        bare = objects.Flavor(id=1, vcpus=8, memory_mb=16384)
        for flavor in (bare, fakes.flavor()):
            self.assertFalse(size.is_elastic(flavor))
            self.assertEqual(fakes.MAXIMUM, size.minimum(flavor))
            size.validate(flavor)

    def test_bad_values_are_named_and_never_charged_less(self):
        for value, text in (('two', "'two', which is not an integer"),
                            ('', "'', which is not an integer"),
                            ('0', 'is 0. It must be at least 1'),
                            ('9', 'is 9, above the 8 vCPUs of the flavor')):
            flavor = fakes.flavor(cpu=value)
            ex = self.assertRaises(ValueError, size.validate, flavor)
            self.assertIn('minimum_cpu', str(ex))
            self.assertIn(text, str(ex))
            self.assertEqual(fakes.MAXIMUM, size.minimum(flavor))
        ex = self.assertRaises(
            ValueError, size.validate, fakes.flavor(memory=16385))
        self.assertIn('minimum_memory of the flavor is 16385, above the '
                      '16384 MiB', str(ex))

    def test_amounts_of_the_flavor(self):
        """Only those of vCPUs and memory replace what is charged."""
        for key in ('resources:VCPU', 'resources1:PCPU',
                    'resources_A:MEMORY_MB'):
            self.assertTrue(size.charges_by_extra_specs(
                objects.Flavor(extra_specs={key: '1'})), key)
        for key in ('resources:CUSTOM_LICENCE', 'resources:DISK_GB',
                    'resources1:CUSTOM_VCPU', 'trait:VCPU'):
            self.assertFalse(size.charges_by_extra_specs(
                objects.Flavor(extra_specs={key: '1'})), key)

    @hypothesis.given(fakes.elastic_flavors())
    def test_minimum_is_inside_the_flavor(self, flavor):
        size.validate(flavor)
        low = size.minimum(flavor)
        self.assertEqual(size.maximum(flavor),
                         size.largest(low, size.maximum(flavor)))

    @hypothesis.given(st.text(), st.text())
    def test_no_stored_value_breaks_the_reader(self, cpu, memory):
        flavor = fakes.flavor(cpu=cpu, memory=memory)
        low = size.minimum(flavor)
        self.assertTrue(1 <= low.vcpus <= 8)
        self.assertTrue(1 <= low.memory_mb <= 16384)


class InstanceSizeTestCase(test.NoDBTestCase):

    def test_new_server(self):
        instance = fakes.instance(fakes.flavor(cpu=2, memory=4096))
        for read in (size.desired, size.boot, size.charged):
            self.assertEqual((2, 4096), read(instance))

    def test_books_of_another_flavor(self):
        """Nova without the series has resized it: it keeps what it got."""
        instance = fakes.instance(fakes.flavor(cpu=2, memory=4096))
        size.record(instance, size.Size(6, 8192), size.Size(4, 4096))
        for maximum, low in ((size.Size(4, 16384), 1),
                             (size.Size(8, 4096), 1),
                             (size.Size(16, 16384), 6)):
            instance.flavor = fakes.flavor(2, maximum, cpu=low, memory=1024)
            instance.vcpus, instance.memory_mb = maximum
            for read in (size.desired, size.boot, size.charged):
                self.assertEqual(maximum, read(instance))

    def test_books_that_nobody_wrote(self):
        """It keeps what it has, whatever its flavor now says."""
        instance = fakes.instance(fakes.flavor(cpu=2, memory=4096))
        instance.system_metadata = {}
        for charge, expected in ((fakes.MAXIMUM, fakes.MAXIMUM),
                                 ((4, 8192), (4, 8192)),
                                 ((1, 1), (2, 4096))):
            instance.vcpus, instance.memory_mb = charge
            self.assertEqual(expected, size.desired(instance))
            self.assertEqual(expected, size.boot(instance))

    def test_not_elastic_is_charged_its_flavor(self):
        # Upstream keeps instance.vcpus equal to the flavor's, but counts
        # the flavor; so do we.
        instance = fakes.instance(fakes.flavor())
        instance.vcpus = 3
        self.assertEqual(fakes.MAXIMUM, size.charged(instance))

    @hypothesis.given(fakes.used_instances(), st.data())
    def test_record_never_lowers_the_charge(self, instance, data):
        hypothesis.assume(size.is_elastic(instance.flavor))
        before = size.charged(instance)
        desired = data.draw(fakes.sizes_of(instance.flavor))
        boot = data.draw(fakes.sizes_of(instance.flavor))
        size.record(instance, desired, boot)
        self.assertEqual(desired, size.desired(instance))
        self.assertEqual(boot, size.boot(instance))
        self.assertEqual(size.largest(before, desired, boot),
                         size.charged(instance))

    @hypothesis.given(fakes.used_instances(), st.data())
    def test_settle_charges_the_largest(self, instance, data):
        hypothesis.assume(size.is_elastic(instance.flavor))
        actual = data.draw(fakes.sizes_of(instance.flavor))
        size.settle(instance, actual)
        once = books(instance)
        self.assertEqual(
            size.largest(size.desired(instance), size.boot(instance), actual),
            size.charged(instance))
        size.settle(instance, actual)
        self.assertEqual(once, books(instance))

    @hypothesis.given(fakes.used_instances())
    def test_start_anew_leaves_what_boots(self, instance):
        hypothesis.assume(size.is_elastic(instance.flavor))
        boot = size.boot(instance)
        self.assertEqual(boot, size.started_anew(instance))
        note_all(instance)
        size.start_anew(instance)
        self.assertEqual(
            (boot, boot, boot),
            (size.desired(instance), size.boot(instance),
             size.charged(instance)))
        self.assertFalse(is_anything_noted(instance))
        once = books(instance)
        size.start_anew(instance)
        self.assertEqual(once, books(instance))

    @hypothesis.given(fakes.used_instances(), st.booleans())
    def test_a_move_asks_for_what_is_held_there(self, instance, is_noted):
        hypothesis.assume(size.is_elastic(instance.flavor))
        charge, held = size.charged(instance), size.maximum(instance.flavor)
        if is_noted:
            notes.set_outcome(instance, 'Overcommitted', 'No room.')
            notes.note_excess(instance, held)
        for task_state in ('migrating', 'resize_prep', None):
            instance.task_state = task_state
            self.assertEqual(size.largest(charge, held) if is_noted else
                             charge, size.moved(instance))
        for task_state in ('rebuilding', 'unshelving'):
            instance.task_state = task_state
            self.assertEqual(size.boot(instance), size.moved(instance))
        instance.task_state = None
        notes.clear_outcome(instance)
        self.assertEqual(charge, size.moved(instance))


class ResizeTestCase(test.NoDBTestCase):

    def _set_flavor(self, instance, flavor):
        charge = size.change_flavor(instance, flavor)
        instance.vcpus, instance.memory_mb = charge
        instance.flavor = flavor

    @hypothesis.given(fakes.used_instances(),
                      fakes.elastic_flavors(flavor_id=2))
    def test_revert_is_exact(self, instance, new):
        old, before = instance.flavor, books(instance)
        old_charge = size.charged(instance)
        self.assertEqual(size.minimum(new), size.charged_as(instance, new))

        instance.old_flavor = old
        self._set_flavor(instance, new)

        self.assertEqual(size.minimum(new), size.charged(instance))
        self.assertEqual(size.minimum(new), size.desired(instance))
        self.assertEqual(size.minimum(new), size.boot(instance))
        self.assertEqual(old_charge, size.charged_as(instance, old))

        self._set_flavor(instance, old)
        self.assertEqual(old_charge, size.charged_as(instance, old))
        self.assertEqual(size.minimum(new), size.charged_as(instance, new))

        self.assertEqual(before, books(instance))

    @hypothesis.given(fakes.used_instances(),
                      fakes.elastic_flavors(flavor_id=2))
    def test_confirm_leaves_nothing_of_the_old_flavor(self, instance, new):
        instance.old_flavor = instance.flavor
        self._set_flavor(instance, new)
        size.forget_old_flavor(instance)
        alone = fakes.instance(new)
        self.assertEqual(books(alone), books(instance))

    def test_what_the_old_guest_did_is_forgotten(self):
        for new in (fakes.flavor(flavor_id=2, cpu=1),
                    fakes.flavor(flavor_id=2)):
            instance = fakes.instance(fakes.flavor(cpu=2, memory=4096))
            note_all(instance)
            instance.old_flavor = instance.flavor
            self._set_flavor(instance, new)
            self.assertFalse(is_anything_noted(instance))
            self.assertEqual(size.minimum(new), size.moved(instance))
            size.forget_old_flavor(instance)
            self.assertEqual(
                size.is_elastic(new), bool(entries.of(instance)))

    def _migrate(self, instance):
        """As the host does to which it comes."""
        instance.old_flavor = instance.flavor
        instance.host, instance.vm_state = 'host2', 'resized'
        size.keep_for_revert(instance)

    @hypothesis.given(fakes.used_instances(), st.data())
    def test_revert_of_a_migration_is_exact(self, instance, data):
        flavor, before = instance.flavor, books(instance)
        charge = size.charged(instance)
        self._migrate(instance)
        self.assertEqual(charge, size.charged(instance))
        there = charge
        if size.is_elastic(flavor):
            desired = data.draw(fakes.sizes_of(flavor))
            size.record(instance, desired, size.boot(instance))
            size.settle(instance, desired)
            there = size.charged(instance)
        self.assertEqual(charge, size.counted(instance, flavor, 'host1'))
        self.assertEqual(there, size.counted(instance, flavor, 'host2'))
        self.assertEqual(there, size.charged_as(instance, flavor))
        self.assertEqual(charge, size.reverted(instance, flavor))

        self._set_flavor(instance, flavor)

        self.assertEqual(before, books(instance))
        for host in ('host1', 'host2'):
            self.assertEqual(charge, size.counted(instance, flavor, host))

    @hypothesis.given(fakes.used_instances())
    def test_confirm_leaves_nothing_of_a_migration(self, instance):
        before = books(instance)
        self._migrate(instance)
        size.forget_old_flavor(instance)
        self.assertEqual(before, books(instance))
        self.assertEqual(
            size.charged(instance),
            size.counted(instance, instance.flavor, 'host1'))

    def test_a_resize_puts_aside_once(self):
        new = fakes.flavor(flavor_id=2, cpu=3)
        instance = fakes.instance(fakes.flavor(cpu=2, memory=4096))
        instance.old_flavor = instance.flavor
        self._set_flavor(instance, new)
        instance.host, instance.vm_state = 'host2', 'resized'
        size.keep_for_revert(instance)
        old = instance.old_flavor
        self.assertEqual((2, 4096), size.counted(instance, old, 'host1'))
        self.assertEqual((2, 4096), size.reverted(instance, old))
        self.assertEqual((3, 16384), size.counted(instance, new, 'host2'))

    def test_a_reset_of_its_state_ends_a_migration(self):
        instance = fakes.instance(fakes.flavor(cpu=2, memory=4096))
        self._migrate(instance)
        instance.vm_state = 'active'
        grown = size.Size(4, 8192)
        size.record(instance, grown, grown)
        for host in ('host1', 'host2', 'host3'):
            self.assertEqual(
                grown, size.counted(instance, instance.flavor, host))
        # Another migration begins anew.
        before = {key: value for key, value in entries.of(instance).items()
                  if not entries.is_old_size(key)}
        self._migrate(instance)
        self._set_flavor(instance, instance.flavor)
        self.assertEqual((*grown, before), books(instance))

    def test_a_migration_that_was_begun_before(self):
        """An older compute has put nothing aside."""
        instance = fakes.instance(fakes.flavor(cpu=2, memory=4096))
        self._migrate(instance)
        size.forget_old_flavor(instance)
        before = books(instance)
        self._set_flavor(instance, instance.flavor)
        self.assertEqual(before, books(instance))

    def test_a_resize_that_was_begun_before_the_series(self):
        instance = fakes.instance(fakes.flavor(flavor_id=2, cpu=2))
        old = instance.old_flavor = fakes.flavor(cpu=2, memory=4096)
        self.assertEqual(fakes.MAXIMUM, size.charged_as(instance, old))
        self._set_flavor(instance, old)
        self.assertEqual(fakes.MAXIMUM, size.charged(instance))
        self.assertEqual(fakes.MAXIMUM, size.desired(instance))
        self.assertEqual(fakes.MAXIMUM, size.boot(instance))
