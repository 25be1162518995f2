#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Sphinx's configuration for the guide, which shows the manual too.

doc/source/xloud is an overlay: in Nova's tree the same pages are built with
Nova's own configuration. So nothing here may be needed to understand them, and
they link to no page of the guide.
"""

project = 'XLoud Nova'
copyright = 'XLoud Nova contributors'
author = 'XLoud Nova contributors'
master_doc = 'index'
exclude_patterns = []
extensions = ['openstackdocstheme']
html_theme = 'openstackdocs'
pygments_style = 'native'
# The theme asks git for more than a shallow clone may know.
openstackdocs_auto_name = False
openstackdocs_auto_version = False
version = release = '2024.1'
html_last_updated_fmt = None
