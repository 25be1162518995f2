/*
 * Licensed under the Apache License, Version 2.0 (the "License"); you may
 * not use this file except in compliance with the License. You may obtain
 * a copy of the License at
 *
 *    http://www.apache.org/licenses/LICENSE-2.0
 *
 * Unless required by applicable law or agreed to in writing, software
 * distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
 * WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
 * License for the specific language governing permissions and limitations
 * under the License.
 */

/* A slider and a number field that say the same. The number is what is sent.
 * The events are those of the document, since Horizon puts forms in the page
 * whenever it likes.
 */
(function ($) {
  'use strict';

  function say(slider) {
    slider.setAttribute('aria-valuetext',
                        slider.value + ' ' + slider.getAttribute('data-unit'));
  }

  $(document).on('input change', '[data-xloud-other]', function () {
    var other = document.getElementById(this.getAttribute('data-xloud-other'));
    if (!other || this.value === '') {
      return;
    }
    other.value = this.value;
    say(this.type === 'range' ? this : other);
  });

  /* A refusal is read at once, and the next key goes to the form. */
  $(document).on('shown.bs.modal', '#xloud-adjust-modal', function () {
    var alert = this.querySelector('[data-xloud-focus]');
    if (alert) {
      alert.focus();
    }
  });
}(jQuery));
