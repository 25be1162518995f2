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

/* Nova charges a new server of an elastic flavor its minimum.  Horizon's form
 * for a new server compares the size of the flavor with the quota, so it would
 * not offer a flavor whose maximum is more than what is left.
 *
 * Only flavors that do not fit are asked for their minimum: each is a request.
 */
(function () {
  'use strict';

  var FORM = /^LaunchInstanceFlavorController\b/;
  var NOVA = 'horizon.app.core.openstack-service-api.nova';

  angular.module('xloud.launch', []).config(['$provide', function ($provide) {
    $provide.decorator('$controller', ['$delegate', '$injector', decorate]);
  }]);

  function decorate($delegate, $injector) {
    return function (name, locals, later, ident) {
      var made = $delegate(name, locals, later, ident);
      if (!later || !angular.isString(name) || !FORM.test(name)) {
        return made;
      }
      return angular.extend(function () {
        return compareMinima(made(), $injector.get(NOVA));
      }, made);
    };
  }

  function compareMinima(ctrl, nova) {
    // By flavor; null until Nova has answered
    var extraSpecs = {};
    var getErrors = ctrl.getErrors;
    var updateFlavorFacades = ctrl.updateFlavorFacades;

    ctrl.getErrors = function (flavor) {
      var errors = getErrors(flavor);
      if ((errors.vcpus || errors.ram) && !(flavor.id in extraSpecs)) {
        ask(flavor);
      }
      return extraSpecs[flavor.id] ? getErrors(charged(flavor)) : errors;
    };

    ctrl.updateFlavorFacades = function () {
      updateFlavorFacades();
      ctrl.availableFlavorFacades.forEach(function (facade) {
        if (!extraSpecs[facade.flavor.id]) {
          return;
        }
        var size = charged(facade.flavor);
        var limits = ctrl.novaLimits;
        facade.vcpusChartData = ctrl.getChartData(
          ctrl.chartTotalVcpusLabel, ctrl.instanceCount * size.vcpus,
          limits.totalCoresUsed, limits.maxTotalCores);
        facade.ramChartData = ctrl.getChartData(
          ctrl.chartTotalRamLabel, ctrl.instanceCount * size.ram,
          limits.totalRAMUsed, limits.maxTotalRAMSize, 'MB');
      });
    };

    function ask(flavor) {
      extraSpecs[flavor.id] = null;
      nova.getFlavorExtraSpecs(flavor.id).then(function (response) {
        if (!response) {
          // Horizon has told the user.
          return;
        }
        extraSpecs[flavor.id] = response.data;
        ctrl.updateFlavorFacades();
        ctrl.validateFlavor();
      });
    }

    function charged(flavor) {
      var found = extraSpecs[flavor.id];
      return angular.extend({}, flavor, {
        vcpus: minimum(found.minimum_cpu, flavor.vcpus),
        ram: minimum(found.minimum_memory, flavor.ram)
      });
    }

    return ctrl;
  }

  /* As Nova: a value that cannot be leaves the dimension fixed. */
  function minimum(value, maximum) {
    var number = /^\d+$/.test(value) ? Number(value) : maximum;
    return number >= 1 && number <= maximum ? number : maximum;
  }
}());
